"""Tasks reach people: by e-mail and by webhook, signed, tried again, without a patient's value."""
