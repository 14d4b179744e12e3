//! The benches of this package measure tokens and their parts; it has no code of its own.
