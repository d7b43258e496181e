# What everybody shares, cut so that a user links only what it needs (a static guest: protocol and json alone):
#   protocol  schemas, errors, descriptors, child processes, mailbox (Cap'n Proto, zlib)
#   json      the JSON form of the schemas (nlohmann)
#   log       logging to stderr (spdlog)
#   sandbox   seccomp, capabilities, Landlock, rlimits, closing descriptors (libseccomp, log)
#   rpc       sockets and connections: transport.h (log)
libraries += protocol json log sandbox rpc

schemas += protocol/machine.capnp protocol/work_type.capnp protocol/scenario.capnp protocol/report.capnp \
  protocol/dump.capnp protocol/sample.capnp protocol/cache.capnp protocol/record.capnp
protocol.schemas := $(schemas)
protocol.sources := protocol/error.cc protocol/fd.cc protocol/file.cc protocol/sparse.cc protocol/place.cc \
  protocol/process.cc protocol/json_string.cc protocol/mailbox.cc protocol/map_write.cc
protocol.tests := protocol/fd_test.cc protocol/file_test.cc protocol/sparse_test.cc protocol/place_test.cc \
  protocol/process_test.cc protocol/mailbox_test.cc protocol/map_write_test.cc
protocol.fuzz := protocol/mailbox_fuzz.cc
protocol.packages := capnp-rpc nlohmann_json zlib

json.sources := protocol/json.cc
json.needs := protocol
json.packages := nlohmann_json
json.tests := protocol/json_test.cc
json.fuzz := protocol/json_fuzz.cc protocol/message_fuzz.cc

log.sources := protocol/log.cc
log.needs := protocol
log.tests := protocol/log_test.cc

sandbox.sources := protocol/sandbox.cc $(if $(findstring address,$(SANITIZE)),protocol/sandbox_sanitizer.cc)
sandbox.needs := log protocol
sandbox.packages := libseccomp
sandbox.tests := protocol/sandbox_test.cc
sandbox.test_needs := rpc

rpc.sources := protocol/transport.cc protocol/socket.cc protocol/call_error.cc
rpc.needs := log protocol
rpc.packages := capnp-rpc
rpc.tests := protocol/transport_test.cc protocol/socket_test.cc
