// What goes wrong is thrown as cnngen::Error, with a message for the person who can mend it.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace cnngen {

class Error : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

// What was passed to a call does not fit the network: its shape, type, layout, device or count.
class ArgumentError : public Error {
    using Error::Error;
};

// The parts, one after the other, as text.
template <class... Parts>
std::string text(const Parts&... parts) {
    std::ostringstream out;
    out.precision(9);  // enough digits to tell any two floats apart
    (out << ... << parts);
    return out.str();
}

inline std::string mebibytes(std::size_t bytes) {
    std::ostringstream out;
    out.precision(bytes < (100u << 20) ? 2 : 0);
    out << std::fixed << static_cast<double>(bytes) / (1 << 20) << " MiB";
    return out.str();
}

}  // namespace cnngen
