//! A device is priced with its own engine profile, a release with its own rules and defaults.
