# Numbers of R for tests/unit/flow/test_trajectories.py, run by hand:
#   python -m tests.oracles.trajectories_cohort build/cohort.csv
#   Rscript tests/oracles/trajectories_numbers.R build/cohort.csv
# R 4.2.2, survival 3.5.3, etm 1.1.1, cmprsk 2.2.11.
#
# Neither etm nor survfit knows stays of no length. So everybody is in a state
# "arriving" from time 0 to 1 here, and goes to the first state at 1, or out of
# the hospital if they left on that day; days since admission begin at 1.
suppressMessages({library(survival); library(etm); library(cmprsk)})
source("tests/oracles/r_json.R")
rows <- read.csv(commandArgs(TRUE)[1], na.strings = "", stringsAsFactors = FALSE)
rows$next.[is.na(rows$next.)] <- "cens"
first <- rows[rows$entry == 0, ]
short <- first$entry == first$exit
stopifnot(all(first$next.[short] != "cens"))
arrivals <- data.frame(id = first$case, entry = 0, exit = 1, from = "arriving",
                       to = ifelse(short, first$next., first$state))
lasting <- rows[rows$exit > rows$entry, ]
moves <- data.frame(id = lasting$case, entry = lasting$entry + 1, exit = lasting$exit + 1,
                    from = lasting$state, to = lasting$next.)
all <- rbind(arrivals, moves)
all <- all[order(all$id, all$entry), ]
states <- c("arriving", "moderate", "severe", "died", "discharged")
days <- c(0, 1, 3, 7, 14, 28, 45)
number <- setNames(seq_along(states), states)
to <- unname(number[all$to]); to[is.na(to)] <- 0
fit <- etm:::.etm(entry = all$entry, exit = all$exit, from = as.integer(number[all$from]),
                  to = as.integer(to), nstate = 5L, 0, max(all$exit), TRUE, 0)
at <- findInterval(days + 1, fit$time)
covariance <- array(fit$cov[, , at], c(5, 5, 5, 5, length(at)))[1, , 1, , ]
result <- list(days = days, occupation = flat(t(fit$est[1, , at])),
               covariance = flat(aperm(covariance, c(3, 1, 2))))

all$event <- factor(all$to, c("cens", states[-1]))
curve <- survfit(Surv(entry, exit, event) ~ 1, data = all, id = id, istate = factor(from, states))
shown <- summary(curve, times = days + 1)
result$survfit <- list(occupation = flat(shown$pstate[, match(states[-1], curve$states)]))

whole <- do.call(rbind, lapply(split(rows, rows$case), function(case) {
  data.frame(exit = max(case$exit), to = case$next.[nrow(case)])
}))
cause <- match(whole$to, c("died", "discharged"), nomatch = 0)
cumulative <- cuminc(whole$exit + 1, cause, cencode = 0)
shown <- timepoints(cumulative, c(3, 7, 14, 28, 45) + 1)
result$incidence <- list(days = c(3, 7, 14, 28, 45), estimate = flat(t(shown$est)),
                         variance = flat(t(shown$var)))

# Restricted mean days until leaving, from the first day in a state on, up to 30 days.
rows$stays <- ave(rows$exit, rows$case, FUN = max) - rows$entry
last <- ave(seq_along(rows$case), rows$case, FUN = function(k) k[length(k)])
rows$left <- rows$next.[last] %in% c("died", "discharged")
result$remaining <- list()
for (state in c("moderate", "severe")) for (spent in c(0, 7)) {
  inside <- rows[rows$state == state & (rows$exit - rows$entry > spent | spent == 0), ]
  # survfit takes a time of 0 as it is: those left at once.
  one <- survfit(Surv(inside$stays - spent, inside$left) ~ 1)
  table <- summary(one, rmean = 30)$table
  result$remaining[[paste0(state, spent)]] <- unname(table[c("records", "rmean", "se(rmean)")])
}
writeLines(as_json(result), "tests/oracles/trajectories_numbers.json")
