// Tables for people.
#pragma once

#include <string>
#include <vector>

namespace ktstr {

using TextRow = std::vector<std::string>;

// Columns as wide as their widest cell, two spaces between, each line after `indent` spaces. Lines end
// without blanks.
std::string textTable(const std::vector<TextRow>& rows, size_t indent);

}  // namespace ktstr
