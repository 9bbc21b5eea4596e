"""Training: a loop over any module and objective that can be stopped and resumed exactly."""
