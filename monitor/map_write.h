// Writing values of BPF maps: what would be written where. The memory here is read-only; the bytes go through
// the VMM's WriteGate (map_write_gate.h).
#pragma once

#include <span>
#include <string>
#include <vector>

#include "monitor/bpf_objects.h"
#include "monitor/type_path.h"
#include "protocol/map_write.h"

namespace ktstr {

struct PlannedMapWrite {
  std::string map;
  uint64_t address = 0;  // in the guest's kernel
  std::vector<std::byte> before, bytes;
  struct Piece {
    uint64_t gpa;
    size_t offset, size;  // of `bytes`
    bool operator==(const Piece&) const = default;
  };
  std::vector<Piece> pieces;  // one for each page
};

// Plans them all or throws: Error "map-unknown", "map-ambiguous", "path-invalid", "map-not-writable" (no
// array; a frozen map, whose values the verifier has put into the programs; a bit field; no number),
// "value-invalid", "types-missing", "not-in-memory". Only a guest that has not loaded its maps yet makes
// "map-unknown" a matter of time.
std::vector<PlannedMapWrite> planMapWrites(const GuestKernel& kernel, const KernelLayout& layout,
                                           std::span<const MapWrite> writes);

// A value of a type as little-endian bytes. Throws Error "value-invalid" or "map-not-writable".
std::vector<std::byte> encodeValue(const BtfTypes& types, const TypePlace& place, const std::string& value);

}  // namespace ktstr
