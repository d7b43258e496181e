// What rendering needs: tables, wrapped text, colours and numbers with units. Widths are in code points.
#pragma once

#include <capnp/blob.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/record.capnp.h"

namespace ktstr::render {

inline constexpr size_t columns = 100;

// A record may hold what a guest said: without control bytes, on one line.
std::string clean(capnp::Text::Reader text);

size_t width(std::string_view text);
// Spaces before (right) or after (left) up to `size` columns; longer text is cut with a final '~'.
std::string padLeft(std::string_view text, size_t size);
std::string padRight(std::string_view text, size_t size);

// Breaks at spaces so that no line is longer than `columns`, each after `indent` spaces; ends with a newline.
std::string wrap(std::string_view text, size_t indent);

// Rows of cells with two spaces between columns. Columns are as wide as their widest cell; if that is too
// wide for the terminal, the columns of `shrinkable` are cut, widest first.
struct Table {
  std::vector<std::vector<std::string>> rows;  // first the head
  std::vector<bool> rightAligned;              // per column
  std::vector<size_t> shrinkable;
  std::string str(size_t indent) const;
};

// With an absent value: "-".
std::string milliseconds(double value);           // "12.3 ms", "2.35 s"
std::string microseconds(double value);           // "345 us", "12.3 ms", "2.35 s"
std::string points(double value);                 // "12.3 pp"
std::string rate(double value);                   // "1.23 M/s"
std::string ratio(double value);                  // "2.5"
std::string percent(double share);                // "12 %"
std::string count(uint64_t value);                // "12345"
std::string cpus(capnp::List<uint32_t>::Reader);  // "0-3,8"

// Each work group's figures under EEVDF, and what the scheduler's are of them; empty without a second pass.
std::string baselineTable(rpc::RunRecord::Reader record);

std::string outcomeWord(rpc::Outcome outcome);  // "PASS"
std::string paint(std::string_view text, rpc::Outcome outcome, bool colour);
std::string bold(std::string_view text, bool colour);
std::string dim(std::string_view text, bool colour);

}  // namespace ktstr::render
