"""What can be said of a model's answers: functions on arrays, each value with its interval and its aim."""
