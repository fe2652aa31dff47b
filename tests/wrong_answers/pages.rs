//! Pages and tables show what was answered.
