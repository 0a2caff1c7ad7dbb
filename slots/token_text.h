// Text fields of PKCS#11's information structures: fixed length, padded with blanks, not terminated
// (PKCS#11 3.1, 3.1.1).
#pragma once

#include <cstddef>
#include <string>

namespace hsmux {

// Without the padding; control characters become '?', since the text ends up in logs and terminals.
std::string trimmed_text(const unsigned char* field, std::size_t bytes);

} // namespace hsmux
