//! The control plane's composition root: observe, plan, check, act.
