-- DHCPv6 clients are known by their DUID and IAID, not by a hardware address.
ALTER TABLE leases ADD COLUMN client TEXT;

DROP INDEX leases_of_machine;
CREATE INDEX leases_of_machine ON leases (mac, subnet) WHERE state = 0 AND client IS NULL;
CREATE INDEX leases_of_client ON leases (client, subnet) WHERE state = 0 AND client IS NOT NULL;
