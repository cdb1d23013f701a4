"""Parameter groups, and learning-rate schedules as pure functions of the step."""
