//! The C interface of `face-core`. Empty in this version: it builds, and exports nothing yet.
