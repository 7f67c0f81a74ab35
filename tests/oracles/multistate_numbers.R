# Numbers of R for tests/unit/statistics/test_multistate_in_r.py, run by hand:
#   Rscript tests/oracles/multistate_numbers.R ../shared
# R 4.2.2, survival 3.5.3, etm 1.1.1, cmprsk 2.2.11.
suppressMessages({library(survival); library(etm); library(cmprsk)})
source("tests/oracles/r_json.R")
data <- file.path(commandArgs(TRUE)[1], "data")
result <- list(versions = list(
  survival = as.numeric(unclass(packageVersion("survival"))[[1]]),
  etm = as.numeric(unclass(packageVersion("etm"))[[1]]),
  cmprsk = as.numeric(unclass(packageVersion("cmprsk"))[[1]])))

# etm() sets negative covariances to 0; what is behind it does not.
estimates <- function(rows, names, s, chosen) {
  number <- setNames(seq_along(names), names)
  from <- unname(number[as.character(rows$from)])
  to <- unname(number[as.character(rows$to)])
  to[is.na(to)] <- 0
  inside <- rows$exit > s
  fit <- etm:::.etm(entry = rows$entry[inside], exit = rows$exit[inside],
                    from = as.integer(from[inside]), to = as.integer(to[inside]),
                    nstate = length(names), s, max(rows$exit), TRUE, 0)
  at <- findInterval(chosen, fit$time)
  S <- length(names)
  # cov: pairs (from, to) with from running fastest.
  covariance <- array(fit$cov[, , at, drop = FALSE], c(S, S, S, S, length(at)))
  list(time = chosen,
       probability = flat(aperm(fit$est[, , at, drop = FALSE], c(3, 1, 2))),
       covariance = flat(aperm(covariance, c(5, 1, 2, 3, 4))))
}

# Intensive care: order by time; what happens on the day of leaving comes first.
sir <- read.csv(file.path(data, "icu-hospital-multistate/sir_cont.csv"))
sir <- sir[order(sir$id, sir$time), ]
for (i in 2:nrow(sir)) {
  if (sir$id[i] == sir$id[i - 1] && sir$time[i] == sir$time[i - 1])
    sir$time[i - 1] <- sir$time[i - 1] - 0.5
}
sir$exit <- sir$time
sir$entry <- ave(sir$time, sir$id, FUN = function(t) c(0, t[-length(t)]))
result$sir <- estimates(sir, c("0", "1", "2"), 0, c(1, 3, 5, 10, 20, 40, 80))
result$sir_from_5 <- estimates(sir, c("0", "1", "2"), 5, c(6, 10, 20, 40, 80))
tra <- matrix(FALSE, 3, 3); tra[1, 2:3] <- TRUE; tra[2, c(1, 3)] <- TRUE
public <- etm(sir[, c("id", "from", "to", "entry", "exit")], c("0", "1", "2"), tra, "cens", s = 0)
shown <- summary(public, all = FALSE, ci.fun = "log-log", times = c(3, 10, 40))
result$sir_limits <- list(
  time = c(3, 10, 40), lower = shown[["0 1"]]$lower, upper = shown[["0 1"]]$upper)

sir$event <- factor(sir$to, c("cens", "0", "1", "2"))
fit <- survfit(Surv(entry, exit, event) ~ 1, data = sir, id = id, istate = factor(from))
shown <- summary(fit, times = c(1, 3, 5, 10, 20, 40, 80))
result$sir_survfit <- list(time = shown$time, states = as.numeric(fit$states),
                           initial = as.numeric(fit$p0), occupation = flat(shown$pstate))
weight <- 1 + (sir$id %% 3) / 2
fit <- survfit(Surv(entry, exit, event) ~ 1, data = sir, id = id, istate = factor(from),
               weights = weight)
shown <- summary(fit, times = c(1, 3, 5, 10, 20, 40, 80))
result$sir_survfit_weighted <- list(time = shown$time, states = as.numeric(fit$states),
                                    initial = as.numeric(fit$p0), occupation = flat(shown$pstate))

# Nelson-Aalen of ventilation started (0 to 1) and stopped (1 to 0), left-truncated.
for (way in list(c(0, 1), c(1, 0), c(1, 2))) {
  rows <- sir[sir$from == way[1], ]
  fit <- survfit(Surv(entry, exit, to == way[2]) ~ 1, data = rows)
  shown <- summary(fit, times = c(1, 3, 5, 10, 20, 40, 80))
  at <- findInterval(shown$time, fit$time)
  result[[paste0("hazard_", way[1], way[2])]] <- list(
    time = shown$time, hazard = fit$cumhaz[at], error = fit$std.chaz[at])
}

# Hospital infection: competing risks, and the change in length of stay.
los <- read.csv(file.path(data, "icu-hospital-multistate/los_data.csv"))
los[] <- lapply(los, as.numeric)
first <- pmin(los$j.01, los$j.02, los$j.03, los$cens)
cause <- ifelse(first == los$j.01, 1, ifelse(first == los$j.02, 2, ifelse(first == los$j.03, 3, 0)))
fit <- cuminc(first, cause, cencode = 0)
shown <- timepoints(fit, c(3, 5, 10, 20, 40, 80))
result$infection <- list(time = c(3, 5, 10, 20, 40, 80), incidence = flat(t(shown$est)),
                         variance = flat(t(shown$var)))
long <- prepare.los.data(los)
tra <- matrix(FALSE, 4, 4); tra[1, 2:4] <- TRUE; tra[2, 3:4] <- TRUE
fit <- etm(long, c("0", "1", "2", "3"), tra, NULL, s = 0)
change <- clos(fit)
at <- findInterval(c(3, 10, 20, 40), change$time)
result$extra_days <- list(estimate = change$e.phi, exposed = change$phi.case[at],
                          unexposed = change$phi.control[at], time = c(3, 10, 20, 40))

# Bone-marrow transplant: six states, one row an interval.
ebmt <- read.csv(file.path(data, "ebmt-multistate/ebmt_long.csv"))
key <- paste(ebmt$id, ebmt$from)
rows <- do.call(rbind, lapply(split(ebmt, key), function(part) {
  moved <- part$to[part$status == 1]
  data.frame(id = part$id[1], from = part$from[1], to = if (length(moved)) moved[1] else "cens",
             entry = part$Tstart[1], exit = part$Tstop[1])
}))
names <- as.character(1:6)
result$ebmt <- estimates(rows, names, 0, c(30, 100, 365, 1500))
result$ebmt_from_100 <- estimates(rows, names, 100, c(120, 365, 1500))
writeLines(as_json(result), "tests/oracles/multistate_numbers.json")
