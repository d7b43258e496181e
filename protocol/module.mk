libraries += protocol
schemas += protocol/machine.capnp protocol/scenario.capnp protocol/report.capnp protocol/sample.capnp \
  protocol/cache.capnp protocol/record.capnp
protocol.schemas := $(schemas)
protocol.sources := protocol/error.cc protocol/fd.cc
protocol.packages := capnp-rpc libseccomp zlib
