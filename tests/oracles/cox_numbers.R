# Numbers of R for tests/unit/statistics/test_cox_in_r.py, run by hand:
#   Rscript tests/oracles/cox_numbers.R ../shared
# R 4.2.2, survival 3.5.3.
suppressMessages(library(survival))
source("tests/oracles/r_json.R")
data <- file.path(commandArgs(TRUE)[1], "data")
result <- list()

# Covariates as numbers, with large means: age and calendar year.
ebmt <- read.csv(file.path(data, "ebmt-multistate/ebmt_long.csv"))
ebmt$age <- c("<=20" = 15, "20-40" = 30, ">40" = 45)[ebmt$agecl]
ebmt$calendar <- c("1985-1989" = 1987, "1990-1994" = 1992, "1995-1998" = 1996.5)[ebmt$year]
ebmt$prophylaxis <- as.numeric(ebmt$proph == "yes")
ebmt$mismatch <- as.numeric(ebmt$match == "gender mismatch")
stopifnot(!anyNA(ebmt$age), !anyNA(ebmt$calendar))
ebmt$weight <- 1 + (ebmt$id %% 3) / 2
model <- Surv(Tstart, Tstop, status) ~ age + calendar + prophylaxis + mismatch + strata(trans)
asked <- c(10, 30, 100, 365, 1000, 3000)
patient <- data.frame(age = 45, calendar = 1996.5, prophylaxis = 1, mismatch = 0)

fitted <- function(fit) list(
  beta = unname(coef(fit)), covariance = flat(if (is.null(fit$naive.var)) fit$var else fit$naive.var),
  robust = if (is.null(fit$naive.var)) numeric(0) else flat(fit$var),
  log_likelihood = fit$loglik, reference = unname(fit$means))

for (ties in c("efron", "breslow")) {
  fit <- coxph(model, ebmt, ties = ties)
  result[[paste0("shared_", ties)]] <- fitted(fit)
  hazard <- error <- matrix(0, length(asked), 12)
  for (way in 1:12) {
    curve <- survfit(fit, newdata = cbind(patient, trans = way))
    at <- findInterval(asked, curve$time)
    hazard[, way] <- c(0, curve$cumhaz)[at + 1]
    error[, way] <- c(0, curve$std.err)[at + 1]
  }
  result[[paste0("hazard_", ties)]] <- list(time = asked, hazard = flat(hazard), error = flat(error))

  result[[paste0("weighted_", ties)]] <-
    fitted(coxph(model, ebmt, ties = ties, weights = weight, cluster = id))
  result[[paste0("robust_", ties)]] <- fitted(coxph(model, ebmt, ties = ties, cluster = id))

  # Each transition with its own coefficients; occupation by the product integral of I + dA.
  ways <- unique(ebmt[, c("from", "to", "trans")])
  every <- sort(unique(ebmt$Tstop[ebmt$status == 1]))
  jumps <- array(0, c(length(every), 6, 6))
  own <- list()
  for (row in seq_len(nrow(ways))) {
    part <- ebmt[ebmt$trans == ways$trans[row], ]
    one <- coxph(Surv(Tstart, Tstop, status) ~ age + calendar + prophylaxis + mismatch, part, ties = ties)
    own[[paste0(ways$from[row], ways$to[row])]] <- unname(coef(one))
    curve <- survfit(one, newdata = patient)
    jumps[, ways$from[row], ways$to[row]] <- diff(c(0, c(0, curve$cumhaz)[findInterval(every, curve$time) + 1]))
  }
  P <- c(1, 0, 0, 0, 0, 0)
  occupied <- matrix(0, length(asked), 6)
  for (k in seq_along(every)) {
    A <- jumps[k, , ]; diag(A) <- -rowSums(A)
    P <- P %*% (diag(6) + A)
    occupied[asked >= every[k], ] <- rep(P, each = sum(asked >= every[k]))
  }
  result[[paste0("own_", ties)]] <- c(own, list(time = asked, occupation = flat(occupied)))
}

# A model without ties to speak of, and age far from 0: intensive care, end of stay.
sir <- read.csv(file.path(data, "icu-hospital-multistate/sir_cont.csv"))
sir <- sir[order(sir$id, sir$time), ]
for (i in 2:nrow(sir)) {
  if (sir$id[i] == sir$id[i - 1] && sir$time[i] == sir$time[i - 1])
    sir$time[i - 1] <- sir$time[i - 1] - 0.5
}
sir$entry <- ave(sir$time, sir$id, FUN = function(t) c(0, t[-length(t)]))
sir$female <- as.numeric(sir$sex == "F")
for (ties in c("efron", "breslow")) {
  fit <- coxph(Surv(entry, time, to == 2) ~ age + female + strata(from), sir, ties = ties)
  result[[paste0("icu_", ties)]] <- fitted(fit)
  curve <- survfit(fit, newdata = data.frame(age = 80, female = 1, from = 1))
  at <- findInterval(c(3, 10, 40), curve$time)
  result[[paste0("icu_hazard_", ties)]] <- list(
    time = c(3, 10, 40), hazard = curve$cumhaz[at], error = curve$std.err[at])
}
writeLines(as_json(result), "tests/oracles/cox_numbers.json")
