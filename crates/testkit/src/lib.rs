//! Builders, fakes and real-client drivers for tests.
