"""Training: a loop that knows an objective and a module, and stops, resumes and reports without losing anything."""
