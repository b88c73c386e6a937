//! Integer overflow and other errors of a query.
