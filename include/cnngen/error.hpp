// What goes wrong is thrown as cnngen::Error, with a message for the person who can mend it.
#pragma once

#include <concepts>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
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

// A part of a message: a text or a number.
class Piece {
   public:
    Piece(std::string_view text) : text_(text) {}
    Piece(const std::string& text) : text_(text) {}
    Piece(const char* text) : text_(text) {}
    template <std::integral Number>
    Piece(Number number) : kind_(std::is_signed_v<Number> ? Kind::is_signed : Kind::is_unsigned), integer_(number) {}
    Piece(double number) : kind_(Kind::is_real), real_(number) {}

    void append_to(std::string& out) const {
        char digits[32];
        switch (kind_) {
            case Kind::is_text:
                out += text_;
                return;
            case Kind::is_signed:
                out += std::to_string(integer_);
                return;
            case Kind::is_unsigned:
                out += std::to_string(static_cast<std::uint64_t>(integer_));
                return;
            case Kind::is_real:  // enough digits to tell any two floats apart
                std::snprintf(digits, sizeof digits, "%.9g", real_);
                out += digits;
                return;
        }
    }

   private:
    enum class Kind { is_text, is_signed, is_unsigned, is_real };
    Kind kind_ = Kind::is_text;
    std::string_view text_;
    std::int64_t integer_ = 0;
    double real_ = 0;
};

inline std::string join(std::initializer_list<Piece> pieces) {
    std::string out;
    for (const Piece& piece : pieces) piece.append_to(out);
    return out;
}

// The parts, one after the other, as text.
template <class... Parts>
std::string text(const Parts&... parts) {
    return join({Piece(parts)...});
}

// "51.2 MiB"
inline std::string size_text(std::size_t bytes) {
    double value = static_cast<double>(bytes);
    const char* unit = "B";
    for (const char* larger : {"KiB", "MiB", "GiB"}) {
        if (value < 1024) break;
        value /= 1024;
        unit = larger;
    }
    char out[32];
    const int decimals = value < 10 && unit[1] ? 2 : value < 100 && unit[1] ? 1 : 0;
    std::snprintf(out, sizeof out, "%.*f %s", decimals, value, unit);
    return out;
}

}  // namespace cnngen
