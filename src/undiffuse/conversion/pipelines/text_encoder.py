"""CLIPTextModel, alone in a folder with its tokenizer: a run of kind text_encoder."""

from pathlib import Path
from typing import ClassVar

from undiffuse.codecs.text import TextCodec
from undiffuse.conversion import clip_text
from undiffuse.conversion.assembly import part
from undiffuse.conversion.pipeline import Pipeline
from undiffuse.conversion.pipeline_source import PipelineSource
from undiffuse.core.errors import Refused
from undiffuse.core.text_encoder import TextEncoder
from undiffuse.sampling.run import Run


class TextEncoderPipeline(Pipeline):
    """CLIP's text encoder (arXiv:2103.00020); its tokenizer lies in the same folder, or beside it in `tokenizer`."""

    reads: ClassVar[tuple[str, ...]] = ("CLIPTextModel",)

    def read(self, source: PipelineSource) -> Run:
        beside = source.folder.absolute().parent / "tokenizer"
        inside = (source.folder / "tokenizer_config.json").is_file() or not beside.is_dir()
        return clip_text.read(source, "", source.folder if inside else beside)

    def check(self, run: Run) -> None:
        if not issubclass(type(run), TextEncoder):
            raise Refused(f"the run is {run.what}, and this is for text encoders")
        part(run.codec, TextCodec, "codec", "a CLIPTextModel alone reads tokens")

    def write(self, run: Run, folder: Path) -> str:
        clip_text.write(run, folder, folder)
        return clip_text.KIND
