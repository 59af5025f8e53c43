//! Runs a plan: segment, servers, targets, verdict, evidence.
