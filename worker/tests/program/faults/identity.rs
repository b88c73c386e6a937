//! Files that change, and jobs that are found again.
