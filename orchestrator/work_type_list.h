// `ktstr work-type list`.
#pragma once

#include <string>

namespace ktstr {

// Every work type with its parameters, their defaults and what it measures, as a table for people or as one
// line of JSON each. All but the words about them comes from the schema.
std::string workTypeTable();
std::string workTypeJsonLines();

}  // namespace ktstr
