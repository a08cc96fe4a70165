from django.dispatch import Signal

# Results have been recorded and committed; sent once for all of a flush.
# Provides: results (list of recording.Recorded), in the order they were recorded.
results_recorded = Signal()

# The status that pages show has changed for some monitors.
# Provides: monitor_ids (set of int).
status_changed = Signal()

# A monitor is no longer watched, is watched again, or is gone for good.
# Sent inside the transaction of the change. Provides: monitor (Monitor), at.
monitor_paused = Signal()
monitor_resumed = Signal()
monitor_retired = Signal()

# A monitor bears other labels than before. Sent inside the transaction of the
# change. Provides: monitor (Monitor), at.
monitor_labelled = Signal()
