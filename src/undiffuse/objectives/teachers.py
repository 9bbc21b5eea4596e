"""What a student and its teacher have in common, whatever the method."""

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused


def check_process(model: Denoiser, teacher: Denoiser) -> None:
    """Raises Refused for a teacher whose path from data to noise is not the model's."""
    if teacher.process != model.process:
        raise Refused(
            f"the teacher's process is {teacher.process}, and the student's {model.process}: a student has that of its "
            "teacher"
        )
