//! The local engine: unpacks images, starts keepers, finds them again.
