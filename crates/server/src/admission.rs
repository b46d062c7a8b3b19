//! Whether the platform takes changes: its ending and a deployment exclude each other.

use std::sync::{Arc, Mutex, PoisonError};

/// Shared by all who would change something, and the one who ends the platform.
#[derive(Clone, Default)]
pub(crate) struct Admission(Arc<Mutex<Door>>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    /// With so many changes under way that are not in the log yet.
    Open(usize),
    Closed,
}

impl Default for Door {
    fn default() -> Self {
        Self::Open(0)
    }
}

/// A change that is not in the log yet. While it lives the platform does not end.
pub(crate) struct Admitted(Admission);

impl Admission {
    fn with<T>(&self, change: impl FnOnce(&mut Door) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets a change in; `None` when the platform is ending.
    pub(crate) fn enter(&self) -> Option<Admitted> {
        let entered = self.with(|door| match door {
            Door::Open(inside) => {
                *inside += 1;
                true
            }
            Door::Closed => false,
        });
        entered.then(|| Admitted(self.clone()))
    }

    /// Closes for good, unless a change is inside or `may` objects; both are judged while none can enter.
    pub(crate) fn close<E>(&self, may: impl FnOnce(usize) -> Result<(), E>) -> Result<(), E> {
        self.with(|door| {
            let inside = match door {
                Door::Open(inside) => *inside,
                Door::Closed => 0,
            };
            may(inside)?;
            *door = Door::Closed;
            Ok(())
        })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.with(|door| {
            if let Door::Open(inside) = door {
                *inside -= 1;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty(inside: usize) -> Result<(), usize> {
        match inside {
            0 => Ok(()),
            some => Err(some),
        }
    }

    #[test]
    fn an_ending_and_a_change_exclude_each_other() {
        let admission = Admission::default();
        let first = admission.enter().expect("it is open");
        let second = admission.enter().expect("it is open");
        drop(first);
        assert_eq!(admission.close(empty), Err(1));
        assert!(admission.enter().is_some());
        drop(second);
        assert_eq!(admission.close(empty), Ok(()));
        assert!(admission.enter().is_none());
        assert_eq!(admission.close(empty), Ok(()));
    }
}
