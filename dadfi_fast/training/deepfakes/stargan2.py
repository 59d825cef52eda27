"""Training a StarGAN v2 with its published losses (Choi et al. 2020, section 2.2).

Adversarial with R1, style reconstruction, diversity and cycle, each once with latent codes and once with reference
pictures. The domains are the hair colours: a picture belongs to one of them, so that the same classifier judges the
edits of all families.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dadfi_fast.deepfakes import stargan2
from dadfi_fast.deepfakes.edits import ATTRIBUTES, Styles, exclusive
from dadfi_fast.deepfakes.official import STYLE_SEED
from dadfi_fast.errors import DataError, UsageError
from dadfi_fast.training.data import Faces
from dadfi_fast.training.deepfakes.trainer import DeepfakeConfig, DeepfakeTrainer, averaged, descend
from dadfi_fast.training.loop import Losses


@dataclass(frozen=True)
class StarGAN2Config(DeepfakeConfig):
    """Sizes and weights of a StarGAN v2 training run: the weights are official, the sizes what a CPU can do."""

    batch: int = 8
    ema: float = 0.999
    style_dim: int = 64
    latent_dim: int = 16
    width: int = 16
    max_width: int = 128
    depth: int = 0  # how often the generator halves the picture, at most down to 16 px; 0: so often, as official
    mapping_width: int = 128
    lr: float = 1e-4
    mapping_lr: float = 1e-6
    weight_decay: float = 1e-4
    lambda_reg: float = 1.0
    lambda_sty: float = 1.0
    lambda_ds: float = 1.0  # falls linearly to 0 over the steps, as official
    lambda_cyc: float = 1.0
    styles: int = 1  # styles that are kept of each domain: so many from latent codes, so many from references
    style_mean: int = 1  # codes or references that a kept style is the mean of; a mean is nearer to what is typical


class _Batch(NamedTuple):
    """What one step sees: sources, target domains, and two latent codes and two references of those."""

    x: Tensor  # [B, 3, S, S]
    own: Tensor  # [B] int64
    target: Tensor  # [B] int64
    code: Tensor  # [B, latent_dim]
    other_code: Tensor
    reference: Tensor  # [B, 3, S, S]
    other_reference: Tensor

    @property
    def codes(self) -> tuple[Tensor, Tensor]:
        return self.code, self.other_code

    @property
    def references(self) -> tuple[Tensor, Tensor]:
        return self.reference, self.other_reference


class StarGAN2Trainer(DeepfakeTrainer):
    """One step = two discriminator and two generator updates: latent-guided, then reference-guided (as official)."""

    parts = ("generator", "mapping", "style", "critic", "mean", "mean_mapping", "mean_style",
             "g_opt", "m_opt", "s_opt", "d_opt")  # fmt: skip
    config: StarGAN2Config

    def __init__(self, config: StarGAN2Config, faces: Faces) -> None:
        super().__init__(config, faces)
        hair = self.labels[:, exclusive(ATTRIBUTES)]
        self.domains = [((hair[:, i] == 1) & (hair.sum(1) == 1)).nonzero().flatten() for i in range(hair.shape[1])]
        if not all(map(len, self.domains)):
            raise DataError("StarGAN v2 needs images of every hair colour. Pass more --data.")
        if config.depth > (most := int(math.log2(config.image_size)) - 4):
            raise UsageError(f"depth must be at most {most} for pictures of {config.image_size} px")
        count, sizes = len(self.domains), (config.image_size, config.style_dim)
        kept: dict[str, Any] = {"max_width": config.max_width, "width": config.width}
        self.generator = self._made(stargan2.Generator(*sizes, high_pass=0, depth=config.depth or None, **kept))
        self.mapping = self._made(
            stargan2.MappingNetwork(config.latent_dim, config.style_dim, count, config.mapping_width)
        )
        self.style = self._made(stargan2.StyleEncoder(*sizes, domains=count, **kept))
        self.critic = self._made(stargan2.Discriminator(config.image_size, count, **kept))
        self.mean, self.mean_mapping, self.mean_style = map(averaged, (self.generator, self.mapping, self.style))
        self.compiled(self.generator)
        adam: dict[str, Any] = {"betas": (0.0, 0.99), "weight_decay": config.weight_decay}
        self.g_opt, self.s_opt, self.d_opt = (
            self.optimizer(net, config.lr, **adam) for net in (self.generator, self.style, self.critic)
        )
        self.m_opt = self.optimizer(self.mapping, config.mapping_lr, **adam)

    @property
    def kept(self) -> nn.Module:
        return stargan2.StyledGenerator(self.mean, self.styles())

    def start(self, networks: Mapping[str, Mapping[str, Tensor]]) -> None:
        """As `DeepfakeTrainer.start`; from a card, too.

        A card has a generator and its styles, but not the networks that the styles came from. New ones are set so that
        theirs lie around those.
        """
        styled = networks.get("mean", {})
        table = styled.get("styles.weight")
        if table is None:
            super().start(networks)
            return
        guides, prefix = (len(self.domains), 2, -1, self.config.style_dim), "generator."
        if table.numel() % (len(self.domains) * 2 * self.config.style_dim):
            raise DataError("cannot start from these weights: their styles are not those of three hair colours.")
        super().start({"mean": {k.removeprefix(prefix): v for k, v in styled.items() if k.startswith(prefix)}})
        self._resume_styles(table.T.reshape(guides).mean(2).float().to(self.device))

    @torch.no_grad()
    def _resume_styles(self, styles: Tensor) -> None:
        """Shift and scale the outputs of `mapping` and `style`.

        In each domain the mean becomes that of ``styles`` [D, 2, style_dim] (from codes, from references), and the
        standard deviation half of that between the domains.
        """
        rng = torch.Generator().manual_seed(self.config.seed)
        spread = styles.var(0, correction=0).mean().sqrt() / 2
        codes = self.sent(torch.randn(256, self.config.latent_dim, generator=rng))
        for number, members in enumerate(self.domains):
            pictures = self.pictures.batch(members[torch.randperm(len(members), generator=rng)[:64]])
            heads = (self.mapping.unshared[number][-1], self.style.unshared[number])
            drawn = (self.mapping, codes), (self.style, pictures)
            for head, (network, sources), style in zip(heads, drawn, styles[number], strict=True):
                out = network(sources, torch.full((len(sources),), number, device=self.device))
                varied = out.var(0, correction=0).mean().sqrt()
                scale = spread / varied if varied > 0 else 1.0
                head.weight.mul_(scale)
                head.bias.copy_(style - scale * (out.mean(0) - head.bias))
        self.mean_mapping.load_state_dict(self.mapping.state_dict())
        self.mean_style.load_state_dict(self.style.state_dict())

    @property
    def rule(self) -> Styles:
        hair = [ATTRIBUTES[i] for i in exclusive(ATTRIBUTES)]
        numbers = range(1, self.config.styles + 1)
        kinds = [f"{guide} {n}" for guide in ("latent", "reference") for n in numbers]
        return Styles(ATTRIBUTES, tuple((f"{colour} {kind}", colour, 1) for colour in hair for kind in kinds))

    def facts(self) -> dict[str, Any]:
        styles = [{"name": name, "attribute": colour, "value": value} for name, colour, value in self.rule.styles]
        pictures = [self.faces.names[i] for index in self.references() for i in index.tolist()]
        return super().facts() | {"styles": styles, "style_seed": STYLE_SEED, "references": pictures}

    @torch.no_grad()
    def styles(self) -> Tensor:
        """The styles that are kept, [K, style_dim]: of each domain first those from latent codes, then from references.

        Codes and references are drawn from `STYLE_SEED` alone; `references` names the pictures.
        """
        rng = torch.Generator().manual_seed(STYLE_SEED)
        rows = []
        for number, index in enumerate(self.references()):
            count = self.config.styles * self.config.style_mean
            codes = self.sent(torch.randn(count, self.config.latent_dim, generator=rng))
            pictures = self.pictures.batch(index)
            rows += self._means(self.mean_mapping, codes, number) + self._means(self.mean_style, pictures, number)
        return torch.stack(rows)

    def _means(self, network: nn.Module, sources: Tensor, domain: int) -> list[Tensor]:
        """The kept styles from ``sources`` [N, ...]: each the mean, [style_dim], of its share of them."""
        styles = network(sources, torch.full((len(sources),), domain, device=self.device))
        return [part.mean(0) for part in styles.tensor_split(self.config.styles)]

    def references(self) -> list[Tensor]:
        """The pictures whose styles are kept, by domain: indices into the faces."""
        rng = torch.Generator().manual_seed(STYLE_SEED)
        count = self.config.styles * self.config.style_mean
        return [members[torch.randperm(len(members), generator=rng)[:count]] for members in self.domains]

    def step(self, number: int, rng: torch.Generator) -> Losses:
        self.schedule(number, self.g_opt, self.s_opt, self.d_opt, self.m_opt)
        batch = self._batch(rng)
        diversity = self.sent(torch.tensor(self.config.lambda_ds * (1 - number / self.config.steps)))
        losses: Losses = {}
        for part in (self._criticize_latent, self._criticize_reference):
            losses |= self.graphs(part, *batch)
        for part in (self._generate_latent, self._generate_reference):
            losses |= self.graphs(part, *batch, diversity)
        pairs = ((self.mean, self.generator), (self.mean_mapping, self.mapping), (self.mean_style, self.style))
        for mean, now in pairs:
            self.average(number, mean, now)
        return losses

    def _made(self, module: nn.Module) -> Any:
        """The module with He's initialisation (official)."""
        for part in module.modules():
            if isinstance(part, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
                if part.bias is not None:
                    nn.init.zeros_(part.bias)
        return self.placed(module)

    def _batch(self, rng: torch.Generator) -> _Batch:
        """Sources and references, every domain as often as another (official)."""
        x, own = self._of_any_domain(rng)
        first, target = self._of_any_domain(rng)
        second, _ = self.draw(rng, self._members(target, rng))
        size = (self.config.batch, self.config.latent_dim)
        codes = [self.sent(torch.randn(size, generator=rng)) for _ in range(2)]
        return _Batch(x, own, target, codes[0], codes[1], first, second)

    def _of_any_domain(self, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        domain = torch.randint(len(self.domains), (self.config.batch,), generator=rng)
        pictures, _ = self.draw(rng, self._members(domain, rng))
        return pictures, self.sent(domain)

    def _members(self, domain: Tensor, rng: torch.Generator) -> Tensor:
        """A picture of each ``domain`` [B]: its index."""
        draws = torch.rand(len(domain), generator=rng).tolist()
        members = (self.domains[d] for d in domain.tolist())
        return torch.stack([m[int(r * len(m))] for m, r in zip(members, draws, strict=True)])

    def _latent(self, batch: _Batch, which: int) -> Tensor:
        out: Tensor = self.mapping(batch.codes[which], batch.target)
        return out

    def _reference(self, batch: _Batch, which: int) -> Tensor:
        out: Tensor = self.style(batch.references[which], batch.target)
        return out

    def _criticize_latent(self, *batch: Tensor) -> Losses:
        return self._critic_step(_Batch(*batch), self._latent)

    def _criticize_reference(self, *batch: Tensor) -> Losses:
        return self._critic_step(_Batch(*batch), self._reference)

    def _generate_latent(self, *given: Tensor) -> Losses:
        *batch, diversity = given
        return self._generator_step(_Batch(*batch), self._latent, diversity, self.g_opt, self.m_opt, self.s_opt)

    def _generate_reference(self, *given: Tensor) -> Losses:
        *batch, diversity = given
        return self._generator_step(_Batch(*batch), self._reference, diversity, self.g_opt)

    def _critic_step(self, batch: _Batch, guide: Callable[[_Batch, int], Tensor]) -> Losses:
        x = batch.x.clone().requires_grad_()
        with self.autocast():
            with torch.no_grad():
                fake = self.generator(batch.x, guide(batch, 0))
            real = self.critic(x, batch.own).float()
            (gradient,) = torch.autograd.grad(real.sum(), x, create_graph=True)
            loss = _like(real, 1.0) + _like(self.critic(fake, batch.target), 0.0)
        r1 = 0.5 * gradient.float().square().flatten(1).sum(1).mean()
        descend(loss + self.config.lambda_reg * r1, self.d_opt)
        name = guide.__name__.strip("_")
        return {f"d_adv_{name}": loss.detach(), f"d_r1_{name}": r1.detach()}

    def _generator_step(
        self, batch: _Batch, guide: Callable[[_Batch, int], Tensor], diversity: Tensor, *optimizers: torch.optim.Adam
    ) -> Losses:
        c = self.config
        self.critic.requires_grad_(False)
        with self.autocast():
            style = guide(batch, 0)
            fake = self.generator(batch.x, style)
            adversarial = _like(self.critic(fake, batch.target), 1.0)
            reconstruction = (self.style(fake, batch.target).float() - style.float()).abs().mean()
            with torch.no_grad():  # official: detached after it was computed
                other = self.generator(batch.x, guide(batch, 1))
            spread = (fake.float() - other.float()).abs().mean()
            back = self.generator(fake, self.style(batch.x, batch.own))
            cycle = (back.float() - batch.x).abs().mean()
        loss = adversarial + c.lambda_sty * reconstruction - diversity * spread + c.lambda_cyc * cycle
        for network in (self.generator, self.mapping, self.style):
            network.zero_grad(set_to_none=True)
        descend(loss, *optimizers)
        self.critic.requires_grad_(True)
        name = guide.__name__.strip("_")
        terms = {"adv": adversarial, "sty": reconstruction, "ds": spread, "cyc": cycle}
        return {f"g_{k}_{name}": v.detach() for k, v in terms.items()}


def _like(logits: Tensor, target: float) -> Tensor:
    """Binary cross-entropy of ``logits`` [B] against real (1) or fake (0)."""
    return F.binary_cross_entropy_with_logits(logits.float(), torch.full_like(logits.float(), target))
