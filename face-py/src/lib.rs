//! The Python package `facecore`. Empty in this version: it builds, and cannot be imported yet.
