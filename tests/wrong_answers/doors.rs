//! One scenario gives one answer, whichever way it is asked for.
