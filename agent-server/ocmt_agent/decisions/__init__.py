"""Pure decisions: functions of figures and times, without effects."""
