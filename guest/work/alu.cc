#include "guest/work/alu.h"

#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "guest/work/loops.h"
#include "guest/work/memory.h"

namespace ktstr::work {
namespace {

// Lanes of 16 bits: their multiplication is one micro-operation (PMULLW), that of 32 bits two (PMULLD).
using Scalar = uint64_t;
using Vec128 = uint16_t __attribute__((vector_size(16)));
using Vec256 = uint16_t __attribute__((vector_size(32)));
using Vec512 = uint16_t __attribute__((vector_size(64)));

volatile unsigned char sink;

// A linear congruential generator, which has the full period for any power of two (Knuth, TAOCP vol.
// 2, 3.2.1.2), so a chain never comes to rest.
template <typename Lane>
[[gnu::always_inline]] inline void next(Lane& x) {
  x = x * 25173 + 13849;
}

template <typename Lane>
[[gnu::always_inline]] inline void chains(uint64_t steps) {
  Lane a{}, b{}, c{}, d{}, e{}, f{}, g{}, h{};
  b += 1, c += 2, d += 3, e += 4, f += 5, g += 6, h += 7;
  for (uint64_t step = 0; step < steps; step++) {
    next(a), next(b), next(c), next(d), next(e), next(f), next(g), next(h);
  }
  a += b + c + d + e + f + g + h;
  sink = *reinterpret_cast<const unsigned char*>(&a);
}

void scalar(uint64_t steps) {
  chains<Scalar>(steps);
}
void vec128(uint64_t steps) {
  chains<Vec128>(steps);
}
[[gnu::target("avx2")]] void vec256(uint64_t steps) {
  chains<Vec256>(steps);
}
[[gnu::target("avx512bw")]] void vec512(uint64_t steps) {
  chains<Vec512>(steps);
}

// Tiles 0-3 of 16 rows of 64 bytes (Intel SDM vol. 1 ch. 18, palette 1).
[[gnu::target("amx-tile,amx-int8")]] void amx(uint64_t steps) {
  alignas(64) std::array<unsigned char, 64> layout{};
  layout[0] = 1;
  for (size_t tile = 0; tile < 6; tile++) {
    layout[16 + tile * 2] = 64;
    layout[48 + tile] = 16;
  }
  _tile_loadconfig(layout.data());  // which also zeroes them
  for (uint64_t step = 0; step < steps; step++) {
    _tile_dpbssd(0, 4, 5);
    _tile_dpbssd(1, 4, 5);
    _tile_dpbssd(2, 4, 5);
    _tile_dpbssd(3, 4, 5);
  }
  _tile_release();
}

bool hasAmx() {
  constexpr unsigned long requestPermission = 0x1023,
                          tileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d >> 24 & 3) != 3) return false;
  return syscall(SYS_arch_prctl, requestPermission, tileData) == 0;
}

}  // namespace

Multiplier multiplier(rpc::AluWidth width) {
  const bool widest = width == rpc::AluWidth::WIDEST;
  if (width == rpc::AluWidth::AMX && hasAmx()) return {"amx", amx};
  if ((widest || width >= rpc::AluWidth::VEC512) && __builtin_cpu_supports("avx512bw"))
    return {"vec512", vec512};
  if ((widest || width >= rpc::AluWidth::VEC256) && __builtin_cpu_supports("avx2")) return {"vec256", vec256};
  if (widest || width >= rpc::AluWidth::VEC128) return {"vec128", vec128};
  return {"scalar", scalar};
}

void aluHot(Seat& seat) {
  constexpr uint64_t steps = 65536;
  const Multiplier chosen = multiplier(seat.type.getAluHot().getWidth());
  seat.telemetry.detail(chosen.name);
  while (!seat.stopping()) {
    chosen.run(steps);
    seat.telemetry.timedIteration(steps);
  }
}

void ipcVariance(Seat& seat) {
  const auto settings = seat.type.getIpcVariance();
  Buffer buffer(seat, 512);
  if (!buffer) return;
  auto* const cold = reinterpret_cast<volatile uint64_t*>(buffer.data());
  const uint64_t words = buffer.size() / sizeof *cold;
  uint64_t random = seat.index + 1;
  while (!seat.stopping()) {
    const uint64_t begin = clockNs();
    for (uint32_t period = 0; period < settings.getPeriodIters(); period++) {
      for (uint64_t left = settings.getHotIters(); left > 0 && !seat.stopping();) {
        const uint64_t part = std::min<uint64_t>(left, 65536);
        scalar(part);
        left -= part;
      }
      for (uint64_t touch = 0; touch < settings.getColdIters(); touch++) {
        volatile uint64_t& word = cold[nextRandom(random) % words];
        word = word + 1;
        if (touch % 1024 == 0 && seat.stopping()) return;
      }
      if (seat.stopping()) return;  // a part of an iteration is none
      seat.telemetry.checkpoint();
    }
    seat.telemetry.iteration(uint64_t{settings.getPeriodIters()} * settings.getColdIters());
    seat.telemetry.operation(clockNs() - begin);
  }
}

}  // namespace ktstr::work
