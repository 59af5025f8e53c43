//! PID 1 of the live environment: network, flash, verify, hand-over.
