//! DHCP, TFTP and HTTP shells that drive the protocol cores over real sockets.
