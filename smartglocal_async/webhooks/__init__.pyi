from .receiver import AnswerWhen as AnswerWhen
from .receiver import Receipt as Receipt
from .receiver import ReceiptState as ReceiptState
from .receiver import Webhooks as Webhooks
from .store import Claim as Claim
from .store import MemoryStore as MemoryStore
from .store import WebhookStore as WebhookStore
from .verifier import WebhookVerifier as WebhookVerifier
