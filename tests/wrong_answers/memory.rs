//! What fits, and what is said of flags that decide it.
