//! Sans-IO network boot protocols: DHCP, router advertisements, TFTP, boot policy and scripts.
