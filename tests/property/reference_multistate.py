"""Multi-state estimates in plain loops over all rows and times: slow and obvious."""


def event_times(rows):
    return sorted({row["exit"] for row in rows if row["target"] >= 0})


def at_risk(rows, state, time):
    return sum(
        row["weight"] for row in rows
        if row["origin"] == state and row["entry"] < time <= row["exit"]
    )  # fmt: skip


def moved(rows, origin, target, time):
    return sum(
        row["weight"] for row in rows
        if row["origin"] == origin and row["target"] == target and row["exit"] == time
    )  # fmt: skip


def step(rows, states, time):
    """The matrix I + dA of one time."""
    matrix = [[float(h == j) for j in range(states)] for h in range(states)]
    for h in range(states):
        for j in range(states):
            count = moved(rows, h, j, time) if h != j else 0
            if count:
                share = count / at_risk(rows, h, time)
                matrix[h][j] += share
                matrix[h][h] -= share
    return matrix


def probabilities(rows, states, start, until):
    """P(start, until] as a product of matrices."""
    product = [[float(h == j) for j in range(states)] for h in range(states)]
    for time in event_times(rows):
        if start < time <= until:
            q = step(rows, states, time)
            product = [
                [sum(product[a][h] * q[h][j] for h in range(states)) for j in range(states)]
                for a in range(states)
            ]
    return product


def occupation_covariance(rows, states, initial, until):
    """Sum over times u: what chance at u does to the occupation at the end."""
    found = [[0.0] * states for _ in range(states)]
    for time in event_times(rows):
        if time > until:
            break
        earlier = [t for t in event_times(rows) if t < time]
        before = probabilities(rows, states, -1, earlier[-1]) if earlier else None
        share = [
            sum(initial[a] * (before[a][h] if before else float(a == h)) for a in range(states))
            for h in range(states)
        ]
        after = probabilities(rows, states, time, until)
        q = step(rows, states, time)
        for h in range(states):
            size = at_risk(rows, h, time)
            if not size:
                continue
            for j in range(states):
                for k in range(states):
                    noise = ((j == k) * q[h][j] - q[h][j] * q[h][k]) / size
                    for a in range(states):
                        for b in range(states):
                            found[a][b] += share[h] ** 2 * noise * after[j][a] * after[k][b]
    return found


def incidence(rows, origin, target, until):
    """Sum over times of: still there just before, times the share that leaves this way."""
    remaining, total = 1.0, 0.0
    for time in event_times(rows):
        size = at_risk(rows, origin, time)
        if time > until or not size:
            continue
        total += remaining * moved(rows, origin, target, time) / size
        leaving = sum(moved(rows, origin, j, time) for j in range(10) if j != origin)
        remaining *= 1 - leaving / size
    return total


def incidence_variance(rows, origin, target, until):
    """Aalen's variance as a sum of squared effects, one time after the other."""
    remaining, reached, terms = 1.0, 0.0, []
    for time in event_times(rows):
        size = at_risk(rows, origin, time)
        own = moved(rows, origin, target, time)
        others = sum(moved(rows, origin, j, time) for j in range(10) if j not in {origin, target})
        if time > until or not size or not own + others:
            continue
        before = remaining
        remaining *= 1 - (own + others) / size
        reached += before * own / size
        terms.append((before, size, own, others, remaining, reached))
    total = 0.0
    for before, size, own, others, remaining, at in terms:
        later = (reached - at) / remaining if remaining > 1e-12 else 0.0
        for count, effect in ((own, 1 - later), (others, later)):
            ties = (size - count) / (size - 1) if count > 1 else 1.0
            total += (before / size) ** 2 * count * ties * effect**2
    return total
