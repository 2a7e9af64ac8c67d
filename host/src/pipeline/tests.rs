//! Tests of the workers together.
