#!/bin/bash
# A bastion: `ops` may forward, `closed` may not. More logins at once than ten are refused, all of them. Keys are in /keys.
set -euo pipefail
install -d /run/sshd
install -m 600 /keys/host /etc/ssh/host_key
for user in ops closed; do
    useradd -m -p '*' $user
    install -d -o $user -m 700 /home/$user/.ssh
    install -o $user -m 600 /keys/user.pub /home/$user/.ssh/authorized_keys
done
cat >/etc/ssh/config_of_the_test <<END
HostKey /etc/ssh/host_key
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 10:100:10
Match User closed
    AllowTcpForwarding no
END
exec /usr/sbin/sshd -D -e -f /etc/ssh/config_of_the_test
