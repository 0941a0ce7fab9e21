"""What `kdaif up` runs itself: the queue server and the workers."""
