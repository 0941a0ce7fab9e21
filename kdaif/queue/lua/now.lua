-- Unix milliseconds. KEYS: one whose server is asked.
return NOW
