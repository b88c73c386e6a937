//! Values that the type of their column cannot hold.
