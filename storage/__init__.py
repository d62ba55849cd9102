"""What twofold keeps: conversations, answers, policy versions. Knows neither learner nor page."""
