// `ktstr serve`: does for one VMM what the socket units of systemd do.
#pragma once

namespace ktstr {

// Listens on control.sock (0600), observe.sock (0660) and gate.sock (0600) in a directory that is ours alone
// from now on, for as long as the VMM lives: what an earlier one left there is replaced, whoever it belonged
// to. Then becomes the VMM, which gets the options that are not ours and the sockets as sd_listen_fds(3)
// says. Returns only the exit code of --help and of wrong options. Throws Error "address-in-use" if a VMM
// serves there, "listen-failed", "spawn-failed".
int serveVmm(int argc, char** argv);

}  // namespace ktstr
