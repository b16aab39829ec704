"""Differential privacy: clipping, noise, events, accountants, budgets, and the ledger of what was spent.

What an integrator imports is here; importing it takes no extra. Accountants need `dp` (dp-accounting), and one of them
Opacus, when they are asked.
"""

from privfl.dp.accountants import Account as Account
from privfl.dp.accountants import Accountant as Accountant
from privfl.dp.accountants import PldAccountant as PldAccountant
from privfl.dp.accountants import PrvAccountant as PrvAccountant
from privfl.dp.accountants import RdpAccountant as RdpAccountant
from privfl.dp.accountants import account as account
from privfl.dp.budget import Budget as Budget
from privfl.dp.calibration import calibrate as calibrate
from privfl.dp.calibration import noise_multiplier_for as noise_multiplier_for
from privfl.dp.client_ledger import ClientLedger as ClientLedger
from privfl.dp.clip import Clipping as Clipping
from privfl.dp.clip import clip_update as clip_update
from privfl.dp.codec import PrivateCodec as PrivateCodec
from privfl.dp.events import Composed as Composed
from privfl.dp.events import DiscreteGaussian as DiscreteGaussian
from privfl.dp.events import Gaussian as Gaussian
from privfl.dp.events import Laplace as Laplace
from privfl.dp.events import NonPrivate as NonPrivate
from privfl.dp.events import PoissonSampled as PoissonSampled
from privfl.dp.events import Relation as Relation
from privfl.dp.events import Repeated as Repeated
from privfl.dp.events import Skellam as Skellam
from privfl.dp.events import TreeAggregation as TreeAggregation
from privfl.dp.events import Unsupported as Unsupported
from privfl.dp.events import read_events as read_events
from privfl.dp.ledger import Ledger as Ledger
from privfl.dp.ledger import Mode as Mode
from privfl.dp.ledger import Opening as Opening
from privfl.dp.ledger import Unit as Unit
from privfl.dp.ledger import read_ledger as read_ledger
from privfl.dp.noise import IntegerNoise as IntegerNoise
from privfl.dp.noise import Mechanism as Mechanism
from privfl.dp.planner import IntegerPlan as IntegerPlan
from privfl.dp.planner import effective as effective_event
from privfl.dp.planner import plan as plan_noise
from privfl.dp.quantile import NormHistogram as NormHistogram
from privfl.dp.receipts import Receipt as Receipt
from privfl.dp.receipts import verify_receipt as verify_receipt

__all__ = [
    "Account",
    "Accountant",
    "Budget",
    "ClientLedger",
    "Clipping",
    "Composed",
    "DiscreteGaussian",
    "Gaussian",
    "IntegerNoise",
    "IntegerPlan",
    "Laplace",
    "Ledger",
    "Mechanism",
    "Mode",
    "NonPrivate",
    "NormHistogram",
    "Opening",
    "PldAccountant",
    "PoissonSampled",
    "PrivateCodec",
    "PrvAccountant",
    "RdpAccountant",
    "Receipt",
    "Relation",
    "Repeated",
    "Skellam",
    "TreeAggregation",
    "Unit",
    "Unsupported",
    "account",
    "calibrate",
    "clip_update",
    "effective_event",
    "noise_multiplier_for",
    "plan_noise",
    "read_events",
    "read_ledger",
    "verify_receipt",
]
