# Write named lists of numbers as JSON with all their digits (no package needed).
as_json <- function(x) {
  if (is.list(x)) {
    paste0("{", paste0('"', names(x), '": ', vapply(x, as_json, ""), collapse = ",\n"), "}")
  } else {
    digits <- ifelse(is.finite(x), formatC(x, digits = 17, format = "g"), "null")
    paste0("[", paste(trimws(digits), collapse = ", "), "]")
  }
}
# Arrays are written in C order, so that numpy reshapes them as they are.
flat <- function(x) as.vector(aperm(x, rev(seq_along(dim(x)))))
