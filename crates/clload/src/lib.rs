//! Finds libOpenCL at run time (work in progress).
